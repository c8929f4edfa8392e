"""One process that starts the parts of the platform, watches them, and ends them in order.

`python -m nimbus_project.supervisor`. It stays small: no Django, no threads. What needs Django runs in a child.
"""
