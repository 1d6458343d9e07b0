"""Editing values: attributes and their drafts."""
