"""The tests of the core; what they share is in services.py and conftest.py."""
