//! Stages that are given again what they were given earlier, whatever came since.

use std::collections::BTreeMap;

use super::world::{World, get, raw};
use crate::event::Stage;
use crate::kept::Past;
use crate::media::testing::Server;

#[test]
fn a_stage_is_given_what_it_was_given_then() {
    let (world, server) = (World::new(), Server::start());
    let port = server.url("").rsplit_once(':').unwrap().1.parse().unwrap();
    let manifest = "/v2/library/tiny/manifests/1";
    let keeper = world.online(port);
    let mut pasts = BTreeMap::new();
    let asked = format!("GET {manifest} HTTP/1.1\r\nHost: 10.0.2.2:HERE\r\nConnection: close\r\n\r\n");
    let pull = |keeper: &crate::kept::Keeper| raw(keeper, &asked.replace("HERE", &keeper.route().port.to_string()));
    for (stage, clock) in [(Stage::Docker, None), (Stage::Project, Some("2026-01-05T00:00:00Z"))] {
        server.put("/debian/InRelease", format!("list for {stage}"));
        server.put(manifest, format!("{{\"for\": \"{stage}\"}}"));
        keeper.enter(stage);
        assert!(get(&keeper, port, "/debian/InRelease").ends_with(&format!("list for {stage}")));
        assert!(pull(&keeper).contains(&format!("\"for\": \"{stage}\"")));
        let past = Past {
            fetched: keeper.take_fetched(),
            clock: clock.map(|clock| clock.parse().unwrap()),
        };
        assert_eq!(past.fetched.len(), 2);
        pasts.insert(stage, past);
    }
    drop((keeper, server));
    let offline = world.offline();
    offline.enter(Stage::Docker);
    let newest = get(&offline, port, "/debian/InRelease");
    assert!(newest.ends_with("list for project"), "{newest}");
    offline.set_pasts(pasts);
    for (stage, clock) in [(Stage::Docker, None), (Stage::Project, Some(1_767_571_200))] {
        assert_eq!(offline.enter(stage), clock);
        let list = get(&offline, port, "/debian/InRelease");
        assert!(list.ends_with(&format!("list for {stage}")), "{list}");
        let image = pull(&offline);
        assert!(image.contains(&format!("\"for\": \"{stage}\"")), "{image}");
    }
}
