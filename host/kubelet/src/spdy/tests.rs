mod client;
mod closing;
mod golden;
mod hostile;
mod properties;
mod scenarios;
mod throughput;
