// Package fields is the closed set of configuration that the leak check
// understands: for each message, the fields that the proof reads, or that
// cannot move a request. A field of a later Envoy is outside it by itself.
package fields

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// judged lists the fields by message.
var judged = map[protoreflect.FullName]string{
	"envoy.config.listener.v3.Listener": `name address additional_addresses stat_prefix filter_chains default_filter_chain
		per_connection_buffer_limit_bytes per_connection_buffer_high_watermark_timeout metadata drain_type listener_filters
		listener_filters_timeout continue_on_listener_filters_timeout freebind socket_options tcp_fast_open_queue_length
		traffic_direction connection_balance_config reuse_port enable_reuse_port access_log tcp_backlog_size
		max_connections_to_accept_per_socket_event bind_to_port internal_listener ignore_global_conn_limit
		bypass_overload_manager tcp_keepalive`,
	"envoy.config.listener.v3.FilterChain": `filter_chain_match filters use_proxy_proto metadata transport_socket
		transport_socket_connect_timeout name`,
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": `codec_type stat_prefix rds route_config
		http_filters add_user_agent common_http_protocol_options http1_safe_max_connection_duration http_protocol_options
		http2_protocol_options server_name server_header_transformation scheme_header_transformation max_request_headers_kb
		stream_idle_timeout stream_flush_timeout request_timeout request_headers_timeout drain_timeout drain_timeout_jitter
		delayed_close_timeout access_log access_log_flush_interval flush_access_log_on_new_request access_log_options
		use_remote_address xff_num_trusted_hops early_header_mutation_extensions internal_address_config skip_xff_append via
		generate_request_id preserve_external_request_id always_set_request_id_in_response forward_client_cert_details
		set_current_client_cert_details proxy_100_continue represent_ipv4_remote_address_as_ipv4_mapped_ipv6 upgrade_configs
		normalize_path merge_slashes path_with_escaped_slashes_action request_id_extension local_reply_config
		strip_matching_host_port strip_any_host_port stream_error_on_invalid_http_message strip_trailing_host_dot
		proxy_status_config append_x_forwarded_port append_local_overload add_proxy_protocol_connection_state
		record_route_resolution_stats`,
	"envoy.config.route.v3.RouteConfiguration": `name virtual_hosts internal_only_headers response_headers_to_add
		response_headers_to_remove request_headers_to_add request_headers_to_remove most_specific_header_mutations_wins
		validate_clusters max_direct_response_body_size_bytes request_mirror_policies ignore_port_in_host_matching
		typed_per_filter_config metadata`,
	"envoy.config.route.v3.VirtualHost": `name domains routes matcher require_tls virtual_clusters rate_limits
		request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove
		typed_per_filter_config include_request_attempt_count include_attempt_count_in_response retry_policy hedge_policy
		include_is_timeout_retry_header per_request_buffer_limit_bytes request_body_buffer_limit request_mirror_policies metadata`,
	"envoy.config.route.v3.Route": `name match route redirect direct_response non_forwarding_action filter_action metadata
		decorator typed_per_filter_config request_headers_to_add request_headers_to_remove response_headers_to_add
		response_headers_to_remove per_request_buffer_limit_bytes stat_prefix request_body_buffer_limit`,
	"envoy.config.route.v3.RouteMatch": `prefix path safe_regex connect_matcher path_separated_prefix path_match_policy
		case_sensitive runtime_fraction headers query_parameters cookies grpc tls_context dynamic_metadata filter_state`,
	"envoy.config.route.v3.RouteAction": `cluster cluster_header weighted_clusters cluster_specifier_plugin
		inline_cluster_specifier_plugin cluster_not_found_response_code metadata_match append_x_forwarded_host timeout
		idle_timeout flush_timeout early_data_policy retry_policy request_mirror_policies priority rate_limits
		include_vh_rate_limits hash_policy max_grpc_timeout grpc_timeout_offset upgrade_configs hedge_policy max_stream_duration`,
	"envoy.config.route.v3.WeightedCluster.ClusterWeight": `name weight metadata_match request_headers_to_add
		request_headers_to_remove response_headers_to_add response_headers_to_remove`,
	"envoy.config.route.v3.RetryPolicy": `retry_on num_retries per_try_timeout per_try_idle_timeout retry_priority
		retry_host_predicate host_selection_retry_max_attempts retriable_status_codes retry_back_off
		rate_limited_retry_back_off retriable_headers retriable_request_headers`,
	"envoy.config.cluster.v3.Cluster": `name alt_stat_name stats_matcher type cluster_type eds_cluster_config connect_timeout
		per_connection_buffer_limit_bytes per_connection_buffer_high_watermark_timeout lb_policy load_assignment health_checks
		max_requests_per_connection circuit_breakers upstream_http_protocol_options common_http_protocol_options
		http_protocol_options http2_protocol_options typed_extension_protocol_options dns_refresh_rate dns_jitter
		dns_failure_refresh_rate respect_dns_ttl dns_lookup_family use_tcp_for_dns_lookups wait_for_warm_on_init
		outlier_detection cleanup_interval ring_hash_lb_config maglev_lb_config least_request_lb_config round_robin_lb_config
		common_lb_config transport_socket metadata protocol_selection upstream_connection_options
		close_connections_on_host_health_failure ignore_health_on_host_removal track_timeout_budgets track_cluster_stats
		preconnect_policy connection_pool_per_downstream_connection`,
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": `common_http_protocol_options upstream_http_protocol_options
		explicit_http_config use_downstream_protocol_config auto_config`,
	"envoy.config.endpoint.v3.ClusterLoadAssignment": `cluster_name endpoints policy`,
	"envoy.config.endpoint.v3.LocalityLbEndpoints":   `locality metadata lb_endpoints load_balancing_weight priority proximity`,
	"envoy.config.endpoint.v3.LbEndpoint":            `endpoint endpoint_name health_status metadata load_balancing_weight`,
	"envoy.config.endpoint.v3.Endpoint":              `address health_check_config hostname additional_addresses observability_name`,
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy": `stat_prefix cluster weighted_clusters metadata_match
		idle_timeout downstream_idle_timeout upstream_idle_timeout access_log max_connect_attempts backoff_options hash_policy
		max_downstream_connection_duration max_downstream_connection_duration_jitter_percentage access_log_flush_interval
		flush_access_log_on_connected access_log_options`,
	"envoy.extensions.filters.network.set_filter_state.v3.Config":          `on_new_connection`,
	"envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue": `object_key factory_key format_string`,
	"envoy.config.core.v3.SubstitutionFormatString":                        `text_format_source`,
	"envoy.extensions.filters.http.router.v3.Router": `dynamic_stats upstream_log upstream_log_options suppress_envoy_headers
		strict_check_headers respect_expected_rq_timeout suppress_grpc_request_failure_code_stats
		reject_connect_request_early_data`,
	"envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication": `providers rules bypass_cors_preflight requirement_map
		strip_failure_response stat_prefix`,
	"envoy.extensions.filters.http.jwt_authn.v3.JwtProvider": `issuer audiences subjects require_expiration max_lifetime
		local_jwks forward from_headers from_params from_cookies forward_payload_header pad_forward_payload_header
		payload_in_metadata normalize_payload_in_metadata header_in_metadata failed_status_in_metadata clock_skew_seconds
		jwt_cache_config claim_to_headers clear_route_cache`,
	"envoy.extensions.filters.http.set_filter_state.v3.Config": `on_request_headers clear_route_cache`,
	"envoy.config.core.v3.DataSource":                          `filename inline_string watched_directory`,
	"envoy.extensions.filters.http.ext_authz.v3.ExtAuthz": `grpc_service http_service transport_api_version failure_mode_allow
		with_request_body status_on_error validate_mutations metadata_context_namespaces
		typed_metadata_context_namespaces route_metadata_context_namespaces route_typed_metadata_context_namespaces
		include_peer_certificate stat_prefix bootstrap_metadata_labels_key allowed_headers disallowed_headers
		include_tls_session charge_cluster_response_stats encode_raw_headers decoder_header_mutation_rules
		enable_dynamic_metadata_ingestion filter_metadata emit_filter_state_stats max_denied_response_body_bytes
		enforce_response_header_limits emit_client_span clear_route_cache`,
	"envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig": `common_config additional_request_headers_to_log
		additional_response_headers_to_log additional_response_trailers_to_log`,
	"envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig": `log_name grpc_service transport_api_version
		buffer_flush_interval buffer_size_bytes grpc_stream_retry_policy`,
	"envoy.extensions.filters.http.ext_authz.v3.CheckSettings": `context_extensions disable_request_body_buffering
		with_request_body emit_client_span`,
}

var sets = func() map[protoreflect.FullName]map[protoreflect.Name]bool {
	out := map[protoreflect.FullName]map[protoreflect.Name]bool{}
	for message, fields := range judged {
		out[message] = map[protoreflect.Name]bool{}
		for _, f := range strings.Fields(fields) {
			out[message][protoreflect.Name(f)] = true
		}
	}
	return out
}()

// Outside returns the fields of m that are set and outside the closed set,
// sorted. It looks at m alone, not at the messages inside it. What the linked
// Envoy API does not know counts as one field named "(unknown)".
func Outside(m proto.Message) []string {
	r := m.ProtoReflect()
	if !r.IsValid() {
		return nil
	}
	set := sets[r.Descriptor().FullName()]
	var odd []string
	r.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !set[f.Name()] {
			odd = append(odd, string(f.Name()))
		}
		return true
	})
	if len(r.GetUnknown()) > 0 {
		odd = append(odd, "(unknown)")
	}
	slices.Sort(odd)
	return odd
}
