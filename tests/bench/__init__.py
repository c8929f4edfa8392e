"""`make bench`: the platform beside the floors it stands on, in one run of one machine.

Absolute figures belong to the machine; the ratios carry over. Not part of the tests.
"""
