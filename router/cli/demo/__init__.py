"""``ledger demo``: a whole bank at work, and every cent checked.

What it expects is computed from what it sent and what it was answered, outside of the ledger.
"""
