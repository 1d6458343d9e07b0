"""A machine that runs already joins: neither rebooted nor reinstalled, it is a node with the roles of one."""
