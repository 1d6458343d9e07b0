"""Hammers for machines with a BMC: ``ipmi`` and ``redfish``, found by their entry points."""
