//! Files of credentials in every form in which they are found.

use super::*;

const CREDENTIALS: &str =
    r#"{"clientId":"cli","clientSecret":"sécret","subscriptionId":"sub","tenantId":"ten","galleryEndpointUrl":"x"}"#;

fn wide(order: fn(u16) -> [u8; 2], mark: [u8; 2]) -> Vec<u8> {
    mark.into_iter().chain(CREDENTIALS.encode_utf16().flat_map(order)).collect()
}

#[test]
fn credentials_are_read_in_every_encoding() {
    let mut odd = wide(u16::to_le_bytes, [0xff, 0xfe]);
    odd.push(0);
    for (encoding, content) in [
        ("UTF-8", CREDENTIALS.as_bytes().to_vec()),
        ("UTF-8 with a mark", [b"\xef\xbb\xbf", CREDENTIALS.as_bytes()].concat()),
        ("UTF-16, little end first", wide(u16::to_le_bytes, [0xff, 0xfe])),
        ("UTF-16, big end first", wide(u16::to_be_bytes, [0xfe, 0xff])),
        ("UTF-16, with half a unit at its end", odd),
    ] {
        let fake = Fake::default().file("/c", content).variable("AZURE_AUTH_LOCATION", "/c");
        let settings = fake.read(json!({})).unwrap();
        let Identity::ServicePrincipal { tenant, client_id, secret, version } = settings.identity else {
            panic!("{encoding}")
        };
        assert_eq!((tenant.as_str(), client_id.as_str(), secret.0.as_str()), ("ten", "cli", "sécret"), "{encoding}");
        assert_eq!(version, TokenVersion::V2);
    }
}

#[test]
fn a_file_may_be_named_by_a_key() {
    let settings = Fake::default().file("/c", CREDENTIALS).read(json!({"AuthLocation": "/c"})).unwrap();
    assert_eq!(settings.subscription, "sub");
    let aks = json!({"subscriptionId": "aks-sub", "aadClientId": "msi"});
    let settings = Fake::default().json("/a", &aks).read(json!({"AKSCredentialLocation": "/a"})).unwrap();
    assert_eq!(settings.subscription, "aks-sub");
}

#[test]
fn files_are_read_from_the_disk_up_to_a_bound() {
    let place = std::env::temp_dir().join(format!("vk-aci-settings-{}", std::process::id()));
    let path = place.to_str().unwrap();
    std::fs::write(&place, CREDENTIALS).unwrap();
    let read = Wasi.file(path, "AZURE_AUTH_LOCATION").unwrap();
    std::fs::write(&place, vec![b' '; 300_000]).unwrap();
    let large = Wasi.file(path, "AZURE_AUTH_LOCATION").unwrap_err();
    std::fs::remove_file(&place).unwrap();
    let gone = Wasi.file(path, "AZURE_AUTH_LOCATION").unwrap_err();
    assert_eq!(read, CREDENTIALS.as_bytes());
    assert!(large.message.contains("more than 262144 bytes"), "{}", large.message);
    assert!(gone.message.starts_with("AZURE_AUTH_LOCATION: cannot read") && gone.message.contains("sandbox.read"));
}
