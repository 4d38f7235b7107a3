"""The deterministic simulation of the whole system: outages by seed, in virtual time, on both backends.

A schedule (`_schedule.py`) is what a seed draws; a play (`_play.py`) is the real supervisor going through it, with a
witness (`_witness.py`; of streams `_stream_witness.py`, of tool runs `_run_witness.py`) that holds every step against
the invariants of requirements 3.3. Callers (`_reader.py`) have whole answers, streams and tool runs, and leave them in
every way; providers are watched at their door (`_watched.py`). A campaign (`_campaign.py`) is many plays. `_bugs.py`
plants bugs, which have to be found. Run it with `python -m tests.whole_system`; `--wire` puts the real SDK and HTTP
clients in the place of scripted providers, over a network in memory (`_wire.py`).
"""
