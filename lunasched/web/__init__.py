"""The status page: what the history holds, for browsers and other programs, read-only.

This is everything but the waiting: a request on a connection becomes an answer, from one state of
the store, which whoever composes it opens. How connections come is the supervisor's business.
"""
