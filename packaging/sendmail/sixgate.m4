divert(-1)
#
# FEATURE(`sixgate') attaches sixgate as a mail filter.
#
# Install as /usr/share/sendmail/cf/feature/sixgate.m4 (Debian), and have in
# sendmail.mc, before the first MAILER line:
#
#	FEATURE(`sixgate')					inet:8894@127.0.0.1
#	FEATURE(`sixgate', `local:/run/sixgate/milter.sock')	another socket
#
# F=T	defers mail while sixgate is down; without it mail goes unchecked.
# T=	C: Sendmail's default is to wait five minutes for a connection.
#	S, R: sixgate takes up to limits.stage_timeout (8s) for an answer, and
#	Sendmail's default of 10s leaves little room.
#
divert(0)dnl
VERSIONID(`sixgate')
divert(-1)
INPUT_MAIL_FILTER(`sixgate', `S='ifelse(defn(`_ARG_'), `', ``inet:8894@127.0.0.1'', `defn(`_ARG_')')`, F=T, T=C:10s;S:30s;R:30s;E:5m')
