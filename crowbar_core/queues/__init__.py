"""Doorbells: how the ids of queued runs reach those who execute them."""
