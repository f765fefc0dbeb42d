//! Keys of earlier versions: still a problem, but one that says where they moved.

/// True for the place of a key of earlier versions.
pub(crate) fn is_moved(path: &str) -> bool {
    hint(path).is_some()
}

/// What to write instead of the key at `path`.
pub(crate) fn hint(path: &str) -> Option<String> {
    const MOVED: [(&str, &str); 22] = [
        ("gateway.token", "gateway.auth.token"),
        ("gateway.password", "gateway.auth.password"),
        ("agent", "agents.defaults (the model: agents.defaults.model)"),
        ("agents.main", "agents.list"),
        ("identity", "agents.list[].identity"),
        ("routing", "channels.*, messages.groupChat and bindings"),
        ("routing.allowFrom", "channels.<id>.allowFrom"),
        ("routing.agents", "agents.list"),
        ("routing.bindings", "bindings"),
        ("routing.queue", "messages.queue"),
        ("bridge", "gateway (the bridge protocol is gone)"),
        ("providers", "models.providers"),
        ("model", "agents.defaults.model"),
        ("telegram", "channels.telegram"),
        ("whatsapp", "channels.whatsapp"),
        ("discord", "channels.discord"),
        ("slack", "channels.slack"),
        ("signal", "channels.signal"),
        ("imessage", "channels.imessage"),
        ("msteams", "channels.msteams"),
        ("channels.telegram.requireMention", "channels.telegram.groups[\"*\"].requireMention"),
        ("channels.telegram.token", "channels.telegram.botToken"),
    ];
    let (_, to) = MOVED.iter().find(|(from, _)| *from == path)?;
    Some(format!("this key has moved to {to}"))
}
