"""The codecs' C kernels: ``kernels.c``, its build, its library as ctypes sees it, and the calls on arrays.

``toolkit.numerics.backend`` decides whether they are used.
"""
