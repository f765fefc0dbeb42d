//! hello-ok is put together from pieces that were encoded before: it must be what the protocol says.

mod support;

use openclaw_protocol::{connect::HelloOk, event::EVENTS};
use support::{Device, enter, gateway, local};

#[tokio::test]
async fn hello_ok_is_a_hello_ok() {
    let gateway = gateway();
    let device = Device::new(1);
    for device in [None, Some(&device)] {
        let (_, hello) = enter(&gateway, local(), device, "operator", &[], support::TOKEN).await.unwrap();
        let typed: HelloOk = serde_json::from_value(hello.clone()).unwrap();
        assert_eq!(serde_json::to_value(&typed).unwrap(), hello);
        assert_eq!(typed.auth.is_some(), device.is_some());
        assert_eq!(typed.features.methods, gateway.http.ws.registry.listed());
        assert_eq!(typed.features.events.len(), EVENTS.len());
        // The snapshot has the newcomer in it (F02).
        let version = typed.snapshot.state_version.presence;
        assert_eq!((typed.snapshot.presence.len() as u64, version), (version, gateway.presence.lock().version()));
    }
}
