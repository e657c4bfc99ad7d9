//! The binary against a real control plane: what users and operators see, in good times and in bad ones.
//!
//! `cargo test --test e2e -- workloads` runs the tests of one module, `-- --list` names them all. (With `-p vk-e2e` too, but
//! then cargo builds many dependencies a second time, for fewer features.)

#![allow(clippy::indexing_slicing, reason = "reading a member of a JSON value never panics")]

mod admission;
mod attach;
mod azure;
mod backend_faults;
mod bundled;
mod burst;
mod chaos;
mod command_line;
mod copy;
mod crashes;
mod deletion;
mod events;
mod exec;
mod faults;
mod forgery;
mod holder;
mod identity;
mod kube_rs;
mod kubelet_security;
mod live_streams;
mod logs;
mod metrics;
mod metrics_server;
mod node;
mod outages;
mod port_forward;
mod references;
mod rejections;
mod replacement;
mod restarts;
mod secrets;
mod updates;
mod vanishing;
mod watches;
mod ways;
mod workloads;

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use vk_e2e::{Fetch, Kubectl, MetricsServer, Suite};

/// What those that load the whole control plane may take: each of their waits has a limit of its own.
const LOAD: Duration = Duration::from_secs(600);
/// What those may take that last long by their nature.
const LONG: Duration = Duration::from_secs(330);

macro_rules! tests {
    ($suite:ident . $kind:ident: $($module:ident $(:: $name:ident)+,)*) => {
        $($suite.$kind(
            concat!(stringify!($module), $("::", stringify!($name)),+),
            |given| Box::pin($module$(::$name)+(given)),
        );)*
    };
}

fn main() -> ExitCode {
    match suite() {
        Ok(suite) => suite.run(),
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn suite() -> Result<Suite> {
    let mut suite = Suite::new()?;
    suite.allow(LOAD);
    tests! { suite.alone_on_cluster:
        burst::a_thousand_bound_pods_become_ready_at_two_hundred_a_second,
        burst::a_backlog_of_a_thousand_bound_pods_is_worked_off_at_two_hundred_a_second,
        outages::thirty_seconds_without_the_api_server_are_caught_up_with,
        watches::a_thousand_pods_with_objects_of_their_own_take_few_sockets,
        azure::burst::two_hundred_pods_at_once_are_ready_within_thirty_seconds,
    }
    suite.allow(LONG);
    tests! { suite.alone_on_cluster:
        kubelet_security::a_token_that_nobody_can_vouch_for_is_refused_while_the_api_server_is_away,
    }
    suite.allow(chaos::longest()?);
    tests! { suite.alone_on_cluster:
        chaos::api_and_backend_agree_whatever_has_happened,
    }
    // The longest come first, so that none is left running alone at the end.
    suite.allow(LONG);
    tests! { suite.on_cluster:
        outages::two_minutes_without_the_backend_lose_nothing,
        azure::usage::other_pods_tell_what_they_use_by_azure_monitor,
        azure::manners::a_hundred_running_pods_cost_few_requests_and_an_exit_is_seen_soon,
    }
    suite.fetch(Some(|| Box::pin(MetricsServer::build())));
    tests! { suite.on_cluster:
        metrics_server::top_prints_what_pods_use_and_an_autoscaler_scales_on_it,
    }
    suite.fetch(None);
    tests! { suite.on_cluster:
        crashes::pods_are_ready_again_at_once_after_a_host_stood_still,
        admission::pods_of_controllers_that_are_refused_wait_and_are_not_made_without_end,
        backend_faults::failed_requests_double_and_lose_no_pod,
        backend_faults::failed_requests_double_and_lose_no_pod_of_the_one_namespace,
        backend_faults::failed_polls_lose_no_change,
        outages::a_host_that_starts_during_an_outage_keeps_node_and_pods_ready,
        secrets::no_secret_value_is_told,
        exec::a_hundred_megabytes_arrive_whole_in_both_directions,
        port_forward::a_hundred_megabytes_and_a_half_close_reach_a_real_backend,
        crashes::a_kill_between_a_deed_and_its_answer_doubles_and_loses_nothing,
        backend_faults::a_wait_that_the_backend_asks_for_is_kept,
        backend_faults::listings_from_before_a_creation_end_no_pod,
        backend_faults::listings_that_lag_behind_end_and_double_no_pod,
    }
    let kubectls: Fetch = || Box::pin(async { Kubectl::all().await.map(drop) });
    suite.fetch(Some(kubectls));
    tests! { suite.alone_on_translating_cluster:
        exec::every_client_gets_it_from_an_api_server_that_translates,
        attach::every_client_is_heard_through_an_api_server_that_translates,
        port_forward::every_client_forwards_through_an_api_server_that_tunnels,
    }
    suite.fetch(None);
    tests! { suite.on_translating_cluster:
        exec::a_hundred_megabytes_arrive_whole_through_a_translating_api_server,
        port_forward::a_hundred_megabytes_reach_a_real_backend_through_a_tunnel,
    }
    suite.allow(Suite::LONGEST_TEST);
    suite.fetch(Some(kubectls));
    tests! { suite.on_translating_cluster:
        copy::every_client_copies_through_an_api_server_that_translates,
    }
    tests! { suite.on_cluster:
        exec::every_client_gets_what_a_command_says_and_its_exit_code,
        attach::every_client_sees_what_a_container_writes_and_is_heard,
        port_forward::every_client_forwards_ten_connections_at_once,
        copy::every_client_copies_a_file_there_and_back,
    }
    suite.fetch(None);
    tests! { suite.on_translating_cluster:
        kube_rs::it_does_so_through_an_api_server_that_translates,
        live_streams::clients_that_vanish_behind_a_translating_api_server_leave_nothing,
        kubelet_security::a_self_signed_certificate_serves_an_api_server_that_takes_any,
    }
    tests! { suite.on_cluster:
        exec::a_terminal_echoes_and_tells_when_its_size_changes,
        exec::what_cannot_be_run_says_why,
        attach::it_ends_with_the_container,
        port_forward::a_backend_that_refuses_is_told_and_hurts_nobody_else,
        logs::every_option_picks_its_part,
        logs::lines_from_before_the_time_asked_for_are_left_out,
        logs::what_cannot_be_read_says_why,
        logs::a_followed_log_ends_complete_with_its_container,
        logs::the_log_of_the_run_before_is_kept,
        logs::a_burst_of_lines_arrives_whole,
        live_streams::what_runs_outlives_a_replacement_of_the_component,
        live_streams::clients_that_vanish_leave_nothing_behind,
        kube_rs::it_runs_attaches_forwards_and_reads_logs,
        kubelet_security::who_cannot_say_who_he_is_is_refused_everywhere,
        kubelet_security::rights_are_those_that_the_cluster_gives,
        kubelet_security::a_requested_certificate_serves_once_it_is_approved,
        kubelet_security::replaced_certificate_files_serve_new_connections_and_end_no_stream,
        kubelet_security::a_self_signed_certificate_is_refused_by_an_api_server_that_knows_better,
        admission::each_refusal_has_the_kubelets_reason_and_wording,
        admission::a_taint_that_ends_pods_keeps_new_ones_out,
        admission::what_runs_stays_when_the_node_offers_less,
        vanishing::pods_that_vanish_together_are_waited_for_and_the_node_says_so,
        forgery::a_forged_handle_reaches_nothing_of_another_pod,
        forgery::a_status_that_others_break_is_repaired_and_theirs_survives,
        forgery::a_pod_that_comes_back_with_other_addresses_has_only_those,
        faults::a_guest_that_traps_on_one_pod_harms_no_other,
        faults::a_guest_that_spins_on_one_pod_harms_no_other,
        faults::a_guest_that_eats_memory_on_one_pod_harms_no_other,
        faults::a_guest_that_hangs_on_one_pod_harms_no_other,
        restarts::fifty_pods_outlive_a_clean_restart_untouched,
        restarts::fifty_pods_outlive_a_kill_untouched,
        restarts::a_kill_amid_creations_makes_no_pod_twice_and_loses_none,
        restarts::what_changed_while_the_host_was_away_is_caught_up_with,
        restarts::orphans_are_removed_and_a_namesake_is_not,
        restarts::an_orphan_is_kept_with_keep_orphans,
        restarts::a_clean_stop_posts_not_ready_and_leaves_the_workloads,
        replacement::a_provider_replaced_under_load_loses_and_doubles_no_pod,
        replacement::a_broken_replacement_leaves_the_old_provider_serving,
        workloads::a_deployment_scales_from_none_to_three_and_back,
        workloads::a_pod_without_the_toleration_stays_away,
        workloads::a_job_completes,
        workloads::a_job_fails_at_its_back_off_limit,
        workloads::a_stateful_set_pod_comes_back_under_its_name_with_another_uid,
        workloads::a_readiness_gate_holds_ready_back_and_survives,
        workloads::containers_start_late_restart_and_crash_as_kubectl_shows_it,
        references::a_pod_sees_the_value_of_every_kind_of_reference,
        references::a_bound_token_is_accepted_by_the_api_server_for_this_pod,
        references::a_missing_mandatory_reference_holds_the_pod_until_it_is_there,
        references::missing_optional_references_are_skipped_with_an_event,
        updates::edits_of_mounted_objects_reach_the_provider,
        updates::an_edit_that_only_variables_would_show_causes_no_update,
        updates::a_provider_that_refuses_all_changes_leaves_the_pod_running,
        updates::changes_of_metadata_reach_the_provider_and_a_refused_one_leaves_the_pod_running,
        holder::two_clusters_with_one_backend_and_equal_names_leave_each_other_alone,
        holder::a_host_that_stood_still_finds_its_lease_taken_and_touches_nothing,
        holder::a_second_host_takes_over_soon_from_one_that_was_killed,
        holder::a_second_host_waits_without_a_deed_and_takes_over_from_one_that_stops,
        holder::a_host_whose_lease_is_taken_ends_and_leaves_the_node_as_it_is,
        node::a_deleted_node_is_made_again_and_its_pods_run_on,
        node::foreign_labels_taints_and_a_cordon_survive,
        node::the_lease_is_renewed_and_owned_by_the_node,
        node::another_address_reaches_the_node_and_its_pods,
        node::a_provider_out_of_reach_for_long_makes_the_node_not_ready_until_it_is_back,
        node::a_node_is_not_made_before_the_provider_can_describe_it,
        node::a_node_of_a_real_kubelet_is_refused,
        node::the_taint_is_as_the_flags_say,
        node::one_namespace_is_served_and_others_are_left_alone,
        identity::a_node_identity_is_enough_for_the_whole_life_of_a_pod,
        identity::rights_in_one_namespace_are_enough_to_serve_it,
        metrics::what_happens_shows_in_the_metrics_and_readiness_follows_the_node,
        rejections::each_kind_of_error_decides_what_becomes_of_a_creation,
        rejections::a_backend_that_refuses_the_provider_shows_on_the_node,
        deletion::a_graceful_deletion_waits_for_the_workload_to_stop,
        deletion::grace_ends_a_workload_that_does_not_stop,
        deletion::a_forced_deletion_removes_the_providers_copy_all_the_same,
        deletion::a_pod_with_a_finalizer_is_terminal_before_it_goes,
        deletion::a_deleted_namespace_takes_its_pods_along,
        deletion::a_deleted_pod_of_a_job_is_counted_by_its_job,
        deletion::a_pod_is_ended_when_its_time_is_over,
        outages::a_lost_answer_to_a_creation_makes_no_second_pod,
        outages::pods_that_the_backend_lost_are_made_again_or_failed,
        outages::listings_that_forget_pods_for_a_while_end_none,
        events::what_the_provider_reports_reaches_kubectl_describe,
        bundled::a_bundled_provider_is_found_by_its_name,
        bundled::alone_the_mock_keeps_its_pods_by_itself,
        command_line::a_component_that_cannot_run_is_refused_before_the_node_is_made,
        command_line::a_kubeconfig_that_cannot_be_used_is_named,
        command_line::a_grant_that_is_missing_is_told_in_the_log_and_giving_it_mends_it,
    }
    tests! { suite.on_cluster:
        azure::faults::tokens_that_are_refused_or_not_given,
        azure::faults::tokens_that_are_valid_for_a_second_only,
        azure::faults::too_many_requests,
        azure::faults::servers_that_fail,
        azure::faults::answers_that_are_lost_after_the_deed,
        azure::faults::connections_and_bodies_that_break,
        azure::faults::conflicts_that_pass,
        azure::faults::a_subscription_that_is_not_registered,
        azure::faults::rights_that_are_missing_for_a_while,
        azure::faults::a_resource_group_that_is_missing_for_a_while_ends_no_pod,
        azure::faults::what_azure_refuses_for_good_fails_with_its_words,
        azure::faults::lists_whose_pages_fail_or_lag_behind,
        azure::faults::groups_that_linger_or_are_gone_already,
        azure::faults::sessions_that_fail_end_and_say_so,
        azure::usage::pods_in_a_subnet_tell_what_they_use_by_their_extension,
        azure::usage::figures_that_cannot_be_read_leave_the_others,
        azure::throttling::a_throttled_creation_is_pending_with_a_reason_and_waits_as_told,
        azure::throttling::every_kind_of_request_keeps_the_wait_it_is_told,
        azure::throttling::real_quotas_are_kept_without_running_into_them_again_and_again,
        azure::size::the_component_its_instances_and_its_computing_are_small,
        azure::features::several_containers_of_a_pod_are_one_group,
        azure::features::init_containers_run_one_after_the_other_before_the_others,
        azure::features::an_init_container_that_fails_holds_the_pod_back,
        azure::features::linux_pods_run_on_a_linux_node,
        azure::features::windows_pods_run_on_a_windows_node,
        azure::features::restart_policies_decide_what_becomes_of_a_container_that_ends,
        azure::features::a_liveness_probe_restarts_a_container_that_is_stuck,
        azure::volumes::an_empty_dir_is_empty_and_can_be_written,
        azure::volumes::a_git_repo_is_cloned_at_its_revision,
        azure::volumes::an_azure_file_share_is_mounted,
        azure::volumes::an_azure_file_share_is_mounted_by_its_csi_driver,
        azure::volumes::config_maps_are_files,
        azure::volumes::secrets_are_files_and_are_shown_to_nobody,
        azure::volumes::a_projected_volume_has_all_its_sources_and_a_token_that_is_accepted,
        azure::variables::variables_are_set_and_those_of_secrets_are_secure,
        azure::variables::requests_and_limits_are_cores_and_gigabytes,
        azure::variables::gpus_are_of_the_sku_that_the_pod_names,
        azure::variables::image_pull_secrets_open_private_registries,
        azure::variables::log_analytics_are_told_where_to_and_which_pod,
        azure::network::ports_get_a_public_address_with_a_name,
        azure::network::pods_in_a_private_subnet_have_private_addresses_and_the_clusters_names,
        azure::network::a_subnet_that_is_missing_is_made_if_its_range_is_given,
        azure::network::a_subnet_that_cannot_be_used_is_named,
        azure::refusals::what_groups_cannot_do_is_refused_by_the_name_of_its_field,
        azure::refusals::a_pod_may_say_that_a_refused_field_is_passed_over,
        azure::status::exit_codes_times_and_reasons_are_those_of_the_containers,
        azure::status::a_container_out_of_memory_and_other_states_are_told,
        azure::status::events_of_groups_reach_kubectl_describe,
        azure::status::a_pod_that_starts_shows_how_far_it_is,
        azure::status::an_image_that_cannot_be_pulled_is_told_and_gives_up_in_the_end,
        azure::status::a_group_that_somebody_removed_fails_its_pod,
        azure::status::odd_answers_are_read_all_the_same,
        azure::streams::logs_have_every_line_once_and_their_times_if_asked,
        azure::streams::a_followed_log_goes_on_to_the_end,
        azure::streams::exec_runs_a_command_and_tells_its_exit_code,
        azure::streams::exec_carries_binary_data_both_ways,
        azure::streams::exec_at_a_terminal_has_its_size_and_echo,
        azure::streams::files_are_copied_there_and_back,
        azure::streams::attach_shows_what_a_container_writes,
        azure::ownership::a_restarted_host_adopts_all_and_makes_nothing_twice,
        azure::ownership::a_kill_amid_creations_makes_no_group_twice_and_loses_none,
        azure::ownership::groups_without_a_pod_are_removed_and_those_of_others_never_touched,
        azure::ownership::a_pod_that_comes_back_under_its_name_gets_a_group_of_its_own,
        azure::ownership::a_replaced_provider_goes_on_with_the_same_groups,
        azure::credentials::the_bundled_provider_is_found_by_the_name_azure,
        azure::credentials::credentials_may_be_in_variables,
        azure::credentials::a_managed_identity_needs_no_secret,
        azure::credentials::the_older_token_endpoint_serves_as_well,
        azure::credentials::variables_win_over_the_file,
        azure::credentials::tokens_are_renewed_before_they_end,
        azure::credentials::a_wrong_secret_is_told_on_the_node_and_in_the_log_but_not_itself,
    }
    tests! { suite.without_cluster:
        command_line::a_wrong_command_line_is_one_line_and_exit_code_two,
        command_line::a_wrong_configuration_is_one_line_with_the_remedy_and_exit_code_one,
        command_line::a_file_that_is_no_provider_is_told_apart_and_named,
        command_line::a_host_that_is_not_granted_is_named,
        command_line::check_describes_the_node_without_a_cluster,
        command_line::inspect_tells_what_a_component_has_and_lacks,
        command_line::version_and_help_are_on_standard_output,
    }
    Ok(suite)
}
