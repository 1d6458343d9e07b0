"""The sides of the benchmark ``ssh``: each does the same work on the same nodes, in a process of its
own, and measures itself.
"""
