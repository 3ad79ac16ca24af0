//! Configuration that every Postfix and Sendmail of the tests has.

use std::path::Path;

/// The services of master.cf besides listeners. The queue manager checks
/// deferred mail every second.
pub const POSTFIX_SERVICES: &str = "\
pickup     unix  n  -  n  60    1  pickup
cleanup    unix  n  -  n  -     0  cleanup
qmgr       unix  n  -  n  1     1  qmgr
tlsmgr     unix  -  -  n  1000? 1  tlsmgr
rewrite    unix  -  -  n  -     -  trivial-rewrite
bounce     unix  -  -  n  -     0  bounce
defer      unix  -  -  n  -     0  bounce
trace      unix  -  -  n  -     0  bounce
flush      unix  n  -  n  1000? 0  flush
proxymap   unix  -  -  n  -     -  proxymap
error      unix  -  -  n  -     -  error
retry      unix  -  -  n  -     -  error
lmtp       unix  -  -  n  -     -  lmtp
anvil      unix  -  -  n  -     1  anvil
postlog    unix-dgram n - n  -     1  postlogd
";

/// The beginning of sendmail.mc, with all files in this directory.
pub fn sendmail_mc(directory: &Path) -> String {
    let directory = directory.display();
    format!(
        "OSTYPE(`linux')
define(`confDOMAIN_NAME', `mx.sixgate.test')
define(`QUEUE_DIR', `{directory}/queue')
define(`STATUS_FILE', `{directory}/statistics')
define(`confPID_FILE', `{directory}/pid')
define(`ALIAS_FILE', `')
define(`confDONT_PROBE_INTERFACES', `True')
define(`confLOG_LEVEL', `0')

dnl However busy the machine is.
define(`confQUEUE_LA', `10000')
define(`confREFUSE_LA', `10000')
define(`confDELAY_LA', `10000')
define(`confTO_IDENT', `0')
"
    )
}
