"""The members that serve, by load: the next request goes to the least loaded one."""

from collections import OrderedDict

from actors.pool.member import Member, State


class ServingMembers:
    """The members that serve, kept in order rather than searched at each request.

    There is one row of members for each load. Rows are few, because a load is a small number; members are many.
    """

    def __init__(self) -> None:
        self._rows: dict[int, OrderedDict[Member, None]] = {}
        self._row_of: dict[Member, int] = {}

    def __len__(self) -> int:
        return len(self._row_of)

    def update(self, member: Member) -> None:
        """Take note of a member whose state or load has changed."""
        load = self._row_of.pop(member, None)
        if load is not None:
            del self._rows[load][member]
            if not self._rows[load]:
                del self._rows[load]
        if member.state is State.SERVING:
            self._row_of[member] = member.load
            self._rows.setdefault(member.load, OrderedDict())[member] = None

    def least_loaded(self) -> Member:
        """The member with the smallest load; among equals, the one whose load has been unchanged for longest.

        Raises:
            ValueError: nobody serves.
        """
        return next(iter(self._rows[min(self._rows)]))
