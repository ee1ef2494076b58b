"""Runs, and the rules about them: slots, retries, alerts, overruns, and their words.

Pure: no clock and no database. The store keeps what is defined here; the supervisor decides by it.
"""
