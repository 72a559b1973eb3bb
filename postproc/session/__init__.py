"""One round of the protocol as a table of states: messages and results go in, actions come out (sans-IO).

Nothing here sends, waits, stores, or draws a random number; the controller does that and reports back. So Alice and
Bob run back to back in a test without a socket, and a recorded run is replayed by the code that ran live.
"""
