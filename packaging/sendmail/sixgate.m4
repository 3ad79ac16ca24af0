divert(-1)
dnl Attaches sixgate as a mail filter.
dnl
dnl Belongs in the folder cf/feature (/usr/share/sendmail/cf/feature in
dnl Debian). In sendmail.mc, before the first MAILER line:
dnl
dnl	FEATURE(`sixgate')
dnl	FEATURE(`sixgate', `local:/run/sixgate/milter.sock')
dnl
dnl The default socket is inet:8894@127.0.0.1, where sixgate listens by default.
dnl
dnl F=T	Mail is deferred while sixgate is down. Without it, mail is accepted unchecked.
dnl T=C	Without it, a client waits five minutes for a connection to sixgate.
dnl T=S,R	sixgate takes up to limits.stage_timeout (8 s) for a reply. Without
dnl	this, Sendmail waits for 10 s, which leaves little margin.

divert(0)dnl
VERSIONID(`sixgate')
divert(-1)
INPUT_MAIL_FILTER(`sixgate', `S='ifelse(defn(`_ARG_'), `', ``inet:8894@127.0.0.1'', `defn(`_ARG_')')`, F=T, T=C:10s;S:30s;R:30s;E:5m')
