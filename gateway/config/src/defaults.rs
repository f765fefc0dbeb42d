//! Every default that is not zero, empty or off, in one place.

use crate::{
    AgentDefaults, Auto, AutoBool, Bind, Browser, BrowserSsrfPolicy, CanvasHost, ConsoleStyle, ControlUi, Gateway,
    GatewayAuth, GatewayNodes, GatewayReload, GatewayRemote, Heartbeat, Limits, LogLevel, Logging, MaintenanceMode,
    OnRestart, ReloadMode, ResetMode, Retry, Session, SessionMaintenance, SessionReset, SessionScope, Tailscale,
};

/// Port when no flag, variable or key says otherwise (manual: port precedence).
pub const DEFAULT_PORT: u16 = 18789;
/// Port of `--dev`.
pub const DEV_PORT: u16 = 19001;
/// The agent when `agents.list` is empty.
pub const DEFAULT_AGENT: &str = "main";
/// The model that needs no key and no network (D35).
pub const ECHO_MODEL: &str = "builtin/echo";

impl Default for Gateway {
    fn default() -> Self {
        Self {
            mode: None,
            port: None,
            bind: Bind::Loopback,
            custom_bind_host: None,
            auth: GatewayAuth::default(),
            trusted_proxies: vec![],
            tailscale: Tailscale::default(),
            remote: GatewayRemote::default(),
            reload: GatewayReload::default(),
            control_ui: ControlUi::default(),
            http: None,
            nodes: GatewayNodes::default(),
            tls: None,
            limits: Limits::default(),
        }
    }
}

impl Default for Browser {
    fn default() -> Self {
        Self {
            enabled: true,
            evaluate_enabled: true,
            executable_path: None,
            headless: true,
            no_sandbox: false,
            attach_only: false,
            default_profile: None,
            cdp_url: None,
            ssrf_policy: BrowserSsrfPolicy::default(),
            profiles: std::collections::BTreeMap::new(),
        }
    }
}

impl Default for GatewayReload {
    fn default() -> Self {
        Self { mode: ReloadMode::Hybrid, debounce_ms: 300 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_payload: 512 * 1024,
            max_handshake_payload: 512 * 1024,
            max_buffered_bytes: 1536 * 1024,
            tick_interval_ms: 30_000,
            handshake_timeout_ms: 10_000,
            max_connections: 4096,
            max_unauthenticated: 512,
            max_unauthenticated_per_address: 256,
            drain_ms: 10_000,
            max_queued_per_session: 64,
            dedupe_ms: 300_000,
            max_dedupe_entries: 10_000,
        }
    }
}

impl Default for CanvasHost {
    fn default() -> Self {
        Self { enabled: true, port: None, root: None, live_reload: true }
    }
}

impl Default for AutoBool {
    fn default() -> Self {
        Self::Auto(Auto::Auto)
    }
}

impl Default for AgentDefaults {
    fn default() -> Self {
        Self {
            model: None,
            workspace: None,
            skip_bootstrap: false,
            max_concurrent: 4,
            timeout_seconds: 600,
            on_restart: OnRestart::Report,
            heartbeat: Heartbeat::default(),
            thinking_default: None,
            verbose_default: None,
            media_max_mb: 5,
            image_model: None,
            models: None,
            context_tokens: None,
            context_pruning: None,
            compaction: None,
            subagents: None,
            sandbox: None,
            memory_search: None,
            block_streaming_default: None,
            block_streaming_break: None,
            block_streaming_chunk: None,
            block_streaming_coalesce: None,
            human_delay: None,
            typing_mode: None,
            typing_interval_seconds: None,
            elevated_default: None,
            user_timezone: None,
            time_format: None,
            envelope_timezone: None,
            envelope_timestamp: None,
            envelope_elapsed: None,
            repo_root: None,
            bootstrap_max_chars: None,
            cli_backends: None,
        }
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            every: "30m".to_owned(),
            prompt: None,
            target: None,
            to: None,
            account_id: None,
            session: None,
            model: None,
            ack_max_chars: None,
            active_hours: None,
            include_reasoning: None,
        }
    }
}

impl Default for Session {
    fn default() -> Self {
        Self {
            main_key: "main".to_owned(),
            scope: SessionScope::PerSender,
            dm_scope: None,
            reset: SessionReset::default(),
            maintenance: SessionMaintenance::default(),
            reset_triggers: vec!["/new".to_owned(), "/reset".to_owned()],
            idle_minutes: None,
            reset_by_type: None,
            reset_by_channel: None,
            identity_links: None,
            store: None,
            typing_mode: None,
            typing_interval_seconds: None,
            agent_to_agent: None,
            send_policy: None,
        }
    }
}

impl Default for SessionReset {
    fn default() -> Self {
        Self { mode: ResetMode::Daily, at_hour: 4, idle_minutes: None }
    }
}

impl Default for SessionMaintenance {
    fn default() -> Self {
        Self {
            mode: MaintenanceMode::Enforce,
            prune_after: "90d".to_owned(),
            max_entries: 10_000,
            max_transcript_lines: 20_000,
        }
    }
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            level: LogLevel::Info,
            file: None,
            console_level: None,
            console_style: ConsoleStyle::Pretty,
            redact_sensitive: None,
            redact_patterns: vec![],
            max_bytes: 10 * 1024 * 1024,
            max_age_days: 7,
            keep_files: 5,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 3, min_delay_ms: 400, max_delay_ms: 30_000, jitter: 0.1 }
    }
}
