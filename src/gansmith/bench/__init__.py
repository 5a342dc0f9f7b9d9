"""How fast training and sampling are here, against the plain loop of `benchmarks/plain.py` (`gansmith bench`).

`rows.py` names what is measured, `measure.py` measures a row with `contenders.py`, `interleaving.py`, `roof.py`,
`fresh.py`, `profile.py` and `teams.py` (of processes, each a `member.py`), and `table.py` shows it. How, and why so:
docs/speed.md.
"""
