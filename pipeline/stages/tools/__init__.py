"""Says how calls of each tool are made in a sandbox session.

arguments (what the model wrote ─► the text of a call)     programs (tool, problem ─► SessionProgram) ◄─ sql_database
environment (what an environment says ─► its next turn, or how the episode ended)
preflight (a run's own classes are begun once in the jail, before an engine starts)
"""
