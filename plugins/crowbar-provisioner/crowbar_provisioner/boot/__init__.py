"""The boot service: a process of its own that serves files to machines and hears what they report."""
