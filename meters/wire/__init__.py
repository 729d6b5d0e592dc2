"""The formats other billing systems' clients send, read as our events; and what those clients want to hear back.

One module a format. None of these formats has a source, so their events all have the empty one, as ours have when none
is given: whoever moves from one client to another keeps the transaction ids, and an event sent by both counts once.
"""
