"""The discovery image, called Sledgehammer: a kernel and an initial RAM disk made of Debian's packages.

``build`` makes it, ``root`` holds the scripts that run in it. The same packages make the same image, byte by byte.
"""
