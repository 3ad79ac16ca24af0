divert(-1)
dnl Attaches sixgate as a mail filter.
dnl
dnl Belongs into the folder cf/feature (/usr/share/sendmail/cf/feature in
dnl Debian). In sendmail.mc, before the first MAILER line:
dnl
dnl	FEATURE(`sixgate')
dnl	FEATURE(`sixgate', `local:/run/sixgate/milter.sock')
dnl
dnl Without a socket it is inet:8894@127.0.0.1, where sixgate listens if it is
dnl not told otherwise.
dnl
dnl F=T	Mail is deferred while sixgate is down. Otherwise it goes unchecked.
dnl T=C	Otherwise a client waits five minutes for a connection to sixgate.
dnl T=S,R	sixgate takes up to limits.stage_timeout (8 s) for an answer, and
dnl	without this Sendmail waits for 10 s, which leaves little room.

divert(0)dnl
VERSIONID(`sixgate')
divert(-1)
INPUT_MAIL_FILTER(`sixgate', `S='ifelse(defn(`_ARG_'), `', ``inet:8894@127.0.0.1'', `defn(`_ARG_')')`, F=T, T=C:10s;S:30s;R:30s;E:5m')
