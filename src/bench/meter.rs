//! The meter: what the server and its Redis have spent, as the operating system and Redis count it. Linux's clock
//! of processor time ticks every 10 ms, so it is read around stretches of seconds.

use std::time::Duration;

use procfs::{Current, Meminfo, WithCurrentSystemInfo};

use super::redis::Redis;

/// A process on this machine.
pub struct Process(procfs::process::Process);

impl Process {
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        Ok(Self(procfs::process::Process::new(i32::try_from(pid)?)?))
    }

    fn myself() -> anyhow::Result<Self> {
        Ok(Self(procfs::process::Process::myself()?))
    }

    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = self.0.stat()?;
        let ticks = (stat.utime + stat.stime) as f64;
        Ok(Duration::from_secs_f64(ticks / procfs::ticks_per_second() as f64))
    }

    pub fn rss_bytes(&self) -> anyhow::Result<u64> {
        Ok(self.0.stat()?.rss_bytes().get())
    }
}

/// The memory of this machine.
pub fn machine_bytes() -> anyhow::Result<u64> {
    Ok(Meminfo::current()?.mem_total)
}

/// What is read before and after a stretch.
pub struct Meter {
    pub server: Process,
    pub redis: Redis,
    redis_process: Process,
    generator: Process,
}

/// What had been spent when it was read, or between two readings.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub server_cpu: Duration,
    pub redis_cpu: Duration,
    pub generator_cpu: Duration,
    pub redis_commands: u64,
}

impl Meter {
    pub async fn new(server: Process, mut redis: Redis) -> anyhow::Result<Self> {
        let redis_process = Process::of(redis.look().await?.pid)?;
        Ok(Self { server, redis, redis_process, generator: Process::myself()? })
    }

    pub async fn read(&mut self) -> anyhow::Result<Spent> {
        Ok(Spent {
            redis_commands: self.redis.look().await?.commands,
            server_cpu: self.server.cpu()?,
            redis_cpu: self.redis_process.cpu()?,
            generator_cpu: self.generator.cpu()?,
        })
    }
}

impl Spent {
    pub fn since(self, before: Spent) -> Spent {
        Spent {
            server_cpu: self.server_cpu.saturating_sub(before.server_cpu),
            redis_cpu: self.redis_cpu.saturating_sub(before.redis_cpu),
            generator_cpu: self.generator_cpu.saturating_sub(before.generator_cpu),
            // One of them was the earlier look itself.
            redis_commands: self.redis_commands.saturating_sub(before.redis_commands + 1),
        }
    }
}
