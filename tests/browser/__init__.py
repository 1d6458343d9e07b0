"""Chromium through the pages."""
