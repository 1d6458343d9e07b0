"""Who is at work, and whether all is well."""
