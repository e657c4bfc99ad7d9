mod client;
mod golden;
mod hostile;
mod properties;
mod scenarios;
mod throughput;
