"""A few lives of the campaign in kill_campaign.py; SLUICE_KILL_LIVES says how many, SLUICE_KILL_SEED repeats the moments."""

import os
import time

import kill_campaign


def test_a_server_that_is_killed_under_load_keeps_its_word(tmp_path):
    lives = int(os.environ.get("SLUICE_KILL_LIVES", "5"))
    seed = int(os.environ.get("SLUICE_KILL_SEED", time.time_ns() % 1_000_000))
    faults = kill_campaign.campaign(tmp_path, lives, 0.8, seed)
    assert not faults, f"seed {seed}:\n" + "\n".join(faults[:20])
