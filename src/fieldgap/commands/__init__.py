"""What people run and engines do not: check, inspect, watch, merge, ui, verify, explain.

A command may use any room, and no room uses a command. Stages are not here; each has a room of its own.
"""
