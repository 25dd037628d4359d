//! Machines that a program has in its lists though their files are gone.

use super::Search;
use crate::machine::driver::Hypervisor;

impl Search<'_> {
    pub(super) fn lists(&mut self) {
        let roots = [self.paths.machines.clone(), self.paths.cache.join("layers")];
        for hypervisor in Hypervisor::ALL {
            let driver = hypervisor.driver();
            for root in &roots {
                match driver.lost_in(root) {
                    Ok(lost) => {
                        for lost in lost {
                            let name = format!("{} in {}", lost, hypervisor.title());
                            self.found("registration", name, || driver.forget_lost(&lost));
                        }
                    }
                    Err(error) => self.events.warn(format!("asking {}: {error:#}", hypervisor.title())),
                }
            }
        }
    }
}
