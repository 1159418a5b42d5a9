"""The server's session states of open pages: a bounded number of them, and none with a running call is dropped."""

from __future__ import annotations

from collections import deque

import gradio as gr
from fastapi import HTTPException
from gradio.state_holder import SessionState, StateHolder

_REMEMBERED = 10_000  # ids of dropped pages, which are answered 410 when they return


class Sessions(StateHolder):
    """Holds Gradio's session states, at most `capacity` of them; the session used longest ago is dropped first.

    A session state keeps the widgets' values of one open page; a call by a script has one too. A page whose session was
    dropped gets HTTP status 410 and reloads itself, because in a new session its widgets could act on another character
    than the page shows.
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
        """Marks a session as the latest used, and drops the oldest sessions where there are more than the capacity.

        Sessions of calls by scripts are dropped before those of pages. A session with a running call is never dropped.
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
            # Gradio keeps the results of its last 2,000 unfetched calls, and the ids of all calls; these are removed.
            queue = self._queue
            for each in queue.pending_event_ids_session.keys() - queue.pending_messages_per_session.keys() - at_work:
                del queue.pending_event_ids_session[each]

    def _is_page(self, session_id: str) -> bool:
        """Returns whether a session holds the state of a page's widgets; a script's call has no state."""
        return bool(self.session_data[session_id].state_data)
