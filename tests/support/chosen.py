"""One test a feature, of those on a machine: what runs on every systemd that can be had.

All tests run on the oldest systemd that is supported. These run on the other ones, too:

    .venv/bin/python tests/support/chosen.py SUITE [--vm] [OPTIONS OF PYTEST]

With ``--vm`` the machine is a virtual one (`installed.boot`), whose processor may be emulated: each
is chosen so that it waits for what happens, and does not measure how soon.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PYTEST = Path(sys.executable).with_name("pytest")

CHOSEN = {
    "test_recording.py": (
        "test_success",
        "test_exit_code",
        "test_signal_even_where_systemd_calls_it_a_clean_end[15]",
        "test_time_limit",
        "test_memory_limit",
        "test_a_program_that_cannot_be_executed[missing program]",
        "test_stopped_by_hand",
        "test_the_timer_is_the_trigger_and_the_slot_is_known",
        "test_a_run_that_outlives_the_supervisor_is_not_lost[kill -s KILL]",
        "test_what_a_success_leaves_behind_is_killed_and_not_done_again[no limit]",
    ),
    "test_deploy.py": (
        "test_all_options_arrive_in_the_service",
        "test_replace_takes_effect_while_the_job_runs",
        "test_sync_repairs_what_was_changed_behind_its_back",
    ),
    "test_jitter.py": ("test_a_boot_within_the_jitter_loses_nothing",),
    "test_slots.py": (
        "test_a_slot_that_ran_is_refused",
        "test_a_start_by_the_timer_is_known_after_a_restart_of_the_supervisor",
    ),
    "test_zones.py": ("test_the_hosts_zone_changes[timedatectl]",),
    "test_boot_schedules.py": ("test_it_is_due_once_after_each_boot_and_not_when_it_is_deployed",),
    "test_reboot.py": (
        "test_a_retry_and_a_hook_survive_a_reboot",
        "test_at_boot_a_job_waits_for_what_cron_waits_for",
    ),
    "test_retries.py": ("test_attempts_come_when_the_policy_says[Linear-delays1]",),
    "test_hooks.py": ("test_hooks_run_as_the_jobs_user_in_its_environment",),
    "test_notifications.py": (
        "test_a_failure_is_told_once_and_its_end",
        "test_a_command_gets_the_message_as_the_jobs_user_and_nobody_else",
    ),
    "test_dependencies.py": ("test_a_job_runs_only_if_the_latest_run_of_its_dependency_succeeded",),
    "test_overlap.py": (
        "test_skip_lets_ordinary_runs_pass",
        "test_replace_ends_the_run_in_progress[calendar:*:*:0/3]",
        "test_parallel_runs_are_retried",
    ),
    "test_exclusive.py": (
        "test_without_a_supervisor_others_go_on_and_the_exclusive_job_waits",
        "test_a_limit_to_all_jobs",
    ),
    "test_limits.py": ("test_a_high_priority", "test_what_ignores_sigterm_is_killed"),
    "test_exit_codes.py": ("test_a_run_that_ends_by_itself_is_a_success_and_has_its_exit_code",),
    "test_sandbox.py": ("test_jobs_are_kept_from_what_they_shall_not_do",),
    "test_directives.py": ("test_a_condition_of_a_job_skips_its_slots_and_each_is_on_record",),
    "test_files.py": ("test_a_file_becomes_timers_in_one_step",),
    "test_crontabs.py": ("test_timers_are_started_and_what_differs_is_said",),
    "test_eject.py": (
        "test_eject_leaves_plain_units_and_the_history",
        "test_a_hand_written_pair_becomes_a_job",
    ),
    "test_user_mode.py": (
        "test_a_users_job_runs_and_is_recorded",
        "test_starting_following_and_stopping",
    ),
    "test_least_privilege.py": (
        "test_the_supervisor_may_start_no_unit_but_lunascheds[systemctl start victim.service]",
        "test_the_supervisor_may_have_jobs_started",
        "test_readers_see_what_root_sees",
    ),
    "test_doctor.py": (
        "test_a_machine_in_order",
        "test_a_stopped_timer",
        "test_a_rule_that_lets_everything_pass",
    ),
    "test_timers.py": ("test_a_timer_that_is_masked", "test_a_home_that_is_mounted_late"),
    "test_sessions.py": ("test_what_a_session_prints_is_the_output_of_the_run[su-login]",),
    "test_overruns.py": (
        "test_a_run_that_hangs_is_told_of_when_it_does_and_when_it_is_over[calendar:*:*:0/2]",
    ),
    "test_late_journal.py": ("test_a_failure_during_a_stall_is_told[1-during_the_run]",),
    "test_status_page.py": ("test_outputs_are_for_who_may_read_the_journal",),
    "test_scraping.py": ("test_a_run_is_counted_and_described",),
}
"""The names of the tests by the file of ``tests/system`` that has them."""


def tests() -> list[str]:
    """The chosen tests, as pytest names them."""
    return [f"tests/system/{file}::{name}" for file, names in CHOSEN.items() for name in names]


def main() -> int:
    """Run them on the suite that is named; returns the exit status of pytest."""
    suite, *options = sys.argv[1:]
    command = [os.fspath(PYTEST), "--suite", suite, *options, *tests()]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
