"""The credentials' room: the login of Nous, its stores, its rules and its one renewal at a time. It knows no actors."""

__all__ = ()
