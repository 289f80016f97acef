//! Addresses as MassTransit writes them: which exchange a message goes to.

use knarr_model::work::Addressing;

/// Where a message goes, and what is declared for it.
pub(super) struct Address {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) addressing: Addressing,
}

/// The exchange that an address URI names (masstransit-wire §6): the last segment of its path.
pub(super) fn parse(address: &str) -> (String, Addressing) {
    if let Some(name) = address.strip_prefix("queue:") {
        return (name.to_owned(), Addressing::Queue);
    }
    for prefix in ["exchange:", "topic:"] {
        if let Some(name) = address.strip_prefix(prefix) {
            return (name.to_owned(), Addressing::Exchange);
        }
    }
    let (path, query) = address.split_once('?').unwrap_or((address, ""));
    let name = path.rsplit('/').next().unwrap_or(path);
    let bind = query.split('&').any(|option| option.eq_ignore_ascii_case("bind=true"));
    let addressing = if bind { Addressing::Queue } else { Addressing::Exchange };
    (percent_decoded(name), addressing)
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match hex {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The full address of an exchange on the broker of `source`.
pub(super) fn destination(source: &str, exchange: &str) -> String {
    match source.rsplit_once('/') {
        Some((broker, _)) => format!("{broker}/{exchange}"),
        None => format!("exchange:{exchange}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, exchange: &str, addressing: Addressing) {
        assert_eq!(parse(address), (exchange.to_owned(), addressing), "{address}");
    }

    #[test]
    fn addresses_of_every_form_name_their_exchange() {
        check("queue:order", "order", Addressing::Queue);
        check("exchange:Shop:Order", "Shop:Order", Addressing::Exchange);
        check("rabbitmq://h/v%2Fx/order?bind=true", "order", Addressing::Queue);
        let bus = "rabbitmq://localhost:5672/vm_bus_x1?temporary=true";
        check(bus, "vm_bus_x1", Addressing::Exchange);
        check("rabbitmq://h/a%3Ab", "a:b", Addressing::Exchange);
    }
}
