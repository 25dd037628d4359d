//! From an ISO to a site, for real: the built program, Debian's own installer in QEMU, a real Docker and the reference
//! project, or a small one where its machine is what matters. Steps that share a machine are one test; each says what it
//! does. The tests run side by side.
//!
//! `tests/support/media` makes the ISO and the registry's content beforehand. Checkpoints are kept in
//! `PROVISION_TEST_CACHE` for the next run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a test fails by panicking, and says on its output how far it is"
)]

mod e2e {
    mod changed;
    mod elsewhere;
    mod export;
    mod facts;
    mod faults;
    mod guest;
    mod images;
    mod layout;
    mod machine;
    mod medium;
    mod moments;
    mod offline;
    #[path = "../../src/process/testing.rs"]
    mod programs;
    mod project;
    mod rebuild;
    mod run;
    mod servers;
    mod store;
    mod timings;
    mod virtualbox;
    mod world;

    use project::{REFERENCE, SMALL};
    use world::World;

    /// The life of a machine, from nothing to its end, and installers that fail. What is waited for runs beside the steps
    /// that follow.
    #[test]
    fn from_an_iso_to_a_site() {
        let world = World::new("machine", REFERENCE);
        world.step("create makes a machine whose site answers");
        machine::is_created(&world);
        world.step("SIGINT in media and SIGKILL in account leave what was there");
        machine::is_interrupted_at_any_stage(&world);
        world.step("the services run in the guest");
        guest::runs_the_services(&world);
        world.step("manual pages and other languages are there for the asking");
        guest::has_pages_and_languages(&world);
        world.step("the small commands answer");
        machine::answers_questions(&world);
        world.step("reset takes it back to how create left it, in seconds");
        moments::is_reset(&world);
        world.step("a second create runs no stage");
        machine::is_not_made_twice(&world);
        world.step("the manifest agrees with the guest");
        facts::agree_with_the_guest(&world);
        world.step("a lock holds the machine to what it was made of");
        facts::are_pinned(&world);
        world.step("a machine is made of what is pinned, and what differs only after its stage is refused then");
        facts::are_what_a_machine_is_made_of(&world);
        world.step("rebuild makes it clean");
        rebuild::makes_it_clean(&world);
        world.step("the cache is in order");
        store::is_in_order(&world);
        world.step("another host takes a checkpoint as a file and goes on from there");
        store::is_carried_to_another_host(&world);
        world.step("two creates of one machine at once: the second is refused");
        machine::is_made_by_one_at_a_time(&world);
        world.step("a failing make keeps the machine, which stops also while it restarts, and leaves a bundle");
        machine::is_kept_when_make_fails(&world);
        world.step("destroy leaves nothing");
        machine::is_destroyed(&world);
        world.step("an installer stands still from now on");
        let standstill = faults::an_installer_is_stopped(&world);
        world.step("an installer will ask");
        let asking = faults::an_installer_asks(&world);
        world.step("SIGKILL and Ctrl-C in install leave nothing running");
        machine::is_killed_while_installing(&world);
        world.step("a remastered medium starts the installer by UEFI");
        medium::starts_by_uefi(&world);
        world.step("the installer that asks is found out, and the question quoted");
        faults::a_question_is_quoted(&world, asking);
        world.step("the installer that stands still is found out, and its console quoted");
        faults::a_standstill_is_quoted(&world, standstill);
        world.step("a QEMU that dies is told at once");
        faults::a_dying_qemu_is_quoted(&world);
    }

    /// What begins with an ISO and ends with an image, beside it: each waits for the other's checkpoints where both need
    /// the same.
    #[test]
    fn from_a_medium_to_an_image() {
        let world = World::new("image", SMALL);
        std::thread::scope(|scope| {
            world.step("a remastered medium installs by BIOS, and its machine boots, beside what follows");
            scope.spawn(|| medium::installs_by_bios(&world));
            world.step("VirtualBox without its kernel driver is told, and nothing is left");
            virtualbox::says_what_is_missing(&world);
            world.step("without a network and a cache, what is missing is named");
            offline::names_what_is_missing(&world);
            world.step("what a build with a network fetches is kept");
            offline::keeps_what_is_fetched(&world);
            world.step("fetch gets it again, to its end");
            offline::is_fetched_again(&world);
            world.step("without a network a machine for a new login is made");
            offline::makes_a_machine(&world);
        });
        world.step("it is exported as a qcow2");
        export::is_a_qcow2(&world);
        std::thread::scope(|scope| {
            world.step("the qcow2 boots on SATA with BIOS, beside what follows");
            let sata = scope.spawn(|| images::boots_on_sata(&world));
            world.step("a checkpoint is exported");
            export::is_a_checkpoint(&world);
            world.step("a containerdisk goes into a registry");
            export::is_pushed_to_a_registry(&world);
            world.step("a sealed OVA is taken by VirtualBox without a warning");
            let sealed = export::is_sealed_and_taken_by_virtualbox(&world);
            let machine_id = sata.join().expect("it boots on SATA");
            world.step("the sealed image boots on NVMe with UEFI, and the images become machines again");
            std::thread::scope(|scope| {
                scope.spawn(|| images::boots_on_nvme(&world, &sealed, &machine_id));
                scope.spawn(|| images::come_back(&world, &sealed));
                world.step("snapshots are kept, and one is restored with its memory, beside these");
                moments::keeps_snapshots(&world);
            });
        });
        world.step("killed while stages run anew and while it boots, it starts and still has its data");
        machine::survives_kills(&world);
        world.step("it comes back from off");
        moments::come_back_from_off(&world);
        world.step("a changed file reruns project and verify only");
        let former = world.key_of("project");
        changed::is_made_anew_from_the_change_on(&world);
        world.forget_layer(&former);
        world.step("destroy leaves nothing");
        offline::is_forgotten(&world);
    }
}
