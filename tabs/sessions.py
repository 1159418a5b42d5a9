"""What the server keeps of each open page: a bounded number of them, and never one that is at work."""

from __future__ import annotations

from collections import deque

import gradio as gr
from fastapi import HTTPException
from gradio.state_holder import SessionState, StateHolder

_REMEMBERED = 10_000  # names of pages that were let go of, to tell them when they come back


class Sessions(StateHolder):
    """Gradio's memory of pages and calls, with room for `capacity`; the one used longest ago makes room.

    A session costs about 0.7 MiB in the studio. A page that comes back after its place was taken is answered 410 and
    loads itself again (`assets/ui/again.js`): its widgets would otherwise act on another character than it shows.
    """

    def __init__(self, demo: gr.Blocks, capacity: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Gradio gives it no types
        demo.state_session_capacity = capacity
        self.set_blocks(demo)
        self._queue = demo._queue
        self._let_go: deque[str] = deque(maxlen=_REMEMBERED)

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data and session_id in self._let_go:
            raise HTTPException(410, "This page was open for long without being used; it loads again.")
        return super().__getitem__(session_id)

    def update(self, session_id: str) -> None:
        """Move a session to the fresh end, and make room: calls of scripts go first, then pages.

        A session whose call is being worked on stays.
        """
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            excess = len(self.session_data) - self.capacity
            if excess <= 0:
                return
            at_work = {session_id, *(event.session_hash for event in list(self._queue.event_ids_to_events.values()))}
            idle = [each for each in self.session_data if each not in at_work]
            for each in sorted(idle, key=self._is_page)[:excess]:
                if self._is_page(each):
                    self._let_go.append(each)
                del self.session_data[each]
                self.time_last_used.pop(each, None)
            # Gradio keeps the results of its last 2,000 calls that nobody fetched, and the names of all: no longer.
            queue = self._queue
            for each in queue.pending_event_ids_session.keys() - queue.pending_messages_per_session.keys() - at_work:
                del queue.pending_event_ids_session[each]

    def _is_page(self, session_id: str) -> bool:
        """Whether a session holds what widgets remember; a script's call remembers nothing that could be missed."""
        return bool(self.session_data[session_id].state_data)
