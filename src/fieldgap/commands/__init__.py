"""Commands for people, which no engine runs: check, inspect, watch, merge, ui, verify, explain.

A command may import any room, and no room imports a command. A stage is not a command: it has a room of its own.
"""
