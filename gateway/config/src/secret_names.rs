//! Which keys and names say that what stands beside them is a secret.

/// The letters and digits of a key, in lower case: `api_key`, `apiKey` and `API-Key` are one.
pub(crate) fn plain(key: &str) -> String {
    key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// True for a key whose value, with all that stands in it, is secret.
pub(crate) fn is_secret_key(key: &str) -> bool {
    const ENDINGS: [&str; 12] = [
        "token",
        "password",
        "passwd",
        "secret",
        "apikey",
        "passphrase",
        "privatekey",
        "accesskey",
        "secretkey",
        "credential",
        "proxy",
        "serviceaccount",
    ];
    let key = plain(key);
    ENDINGS.iter().any(|ending| key.ends_with(ending))
}

/// True for a key whose value is secret when it is a plain text: the name alone says less than [`is_secret_key`].
pub(crate) fn names_a_secret(key: &str) -> bool {
    const WHOLE: [&str; 19] = [
        "access",
        "refresh",
        "authorization",
        "hmac",
        "pat",
        "cred",
        "creds",
        "pass",
        "pwd",
        "bearer",
        "jwt",
        "sig",
        "signature",
        "mnemonic",
        "dsn",
        "connectionstring",
        "databaseurl",
        "webhook",
        "pin",
    ];
    const ENDINGS: [&str; 7] = ["key", "cookie", "cookies", "psk", "webhookpath", "webhookurl", "proxyurl"];
    /// Names of things, and keys that everybody may know.
    const HARMLESS: [&str; 7] =
        ["mainkey", "sessionkey", "publickey", "pubkey", "idempotencykey", "cachekey", "hotkey"];
    let key = plain(key);
    let key = key.strip_suffix("keys").map_or(key.clone(), |stem| format!("{stem}key"));
    (WHOLE.contains(&key.as_str()) || ENDINGS.iter().any(|e| key.ends_with(e)))
        && !HARMLESS.iter().any(|h| key.ends_with(h))
}

/// True for a name, of a variable for example, whose value is secret.
pub fn is_secret_name(name: &str) -> bool {
    is_secret_key(name) || names_a_secret(name)
}
