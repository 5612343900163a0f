"""AG-UI 1.0: a run of a thread in, its events out. The thread is a session, by the same name as in ``chat.ui``."""
