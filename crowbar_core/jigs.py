"""The two jigs that the core brings: one that does nothing, and one that calls a function of the barclamp."""

from __future__ import annotations

from crowbar_core.barclamp import Done, Jig, Outcome, Role, Task
from crowbar_core.errors import PermanentError


class NoopJig(Jig):
    """For roles that mark a point in the graph: succeeds at once, touching nothing."""

    does_nothing = True

    def run(self, task: Task) -> Outcome:
        return Done()


class PythonJig(Jig):
    """Calls the role's ``run`` function (or ``teardown``) on the server's side, in a worker's thread."""

    def tears_down(self, role: Role, package: str) -> bool:
        return role.teardown is not None

    def run(self, task: Task) -> Outcome:
        function = task.role.teardown if task.teardown else task.role.run
        if function is None:
            raise PermanentError(f"Role {task.role.name} has the jig 'python' but no function.")
        outcome = function(task)
        if outcome is None:
            return Done()
        if not isinstance(outcome, Outcome):
            raise PermanentError(
                f"The function of role {task.role.name} returned {type(outcome).__name__}; "
                "return Done, Pending or None."
            )
        return outcome
