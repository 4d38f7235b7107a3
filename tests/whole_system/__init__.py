"""The deterministic simulation of the whole system: outages by seed, in virtual time, on both backends.

A schedule (`_schedule.py`) is what a seed draws; a play (`_play.py`) is the real supervisor going through it, with a
witness (`_witness.py`) that holds every step against the invariants of requirements 3.3; a campaign (`_campaign.py`)
is many of them. `_bugs.py` plants bugs, which have to be found. Run it with `python -m tests.whole_system`; `--wire`
puts the real SDK and HTTP clients in the place of scripted providers, over a network in memory (`_wire.py`).
"""
