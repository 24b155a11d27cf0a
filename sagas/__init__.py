"""What happens between shards: workflows on Temporal that carry parked money to its target.

Start reading at ``convoys.py`` (how items leave), ``convoy_workflow.py`` (how they travel) and
``carriage.py`` (how one delivery and its settlement are done). Files named ``*_workflow.py``
are pure: they import no driver.
"""
