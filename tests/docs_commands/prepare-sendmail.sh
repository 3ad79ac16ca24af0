# Debian's Sendmail as its package configures it, with an additional line in sendmail.mc.
# Runs in a sandbox that has the package's files.
set -e
ldconfig
for user in smmta smmsp; do
    id -u $user >/dev/null 2>&1 || useradd --system --user-group $user
done
cp /usr/share/sendmail/cf/debian/sendmail.mc /usr/share/sendmail/cf/debian/submit.mc /etc/mail
sed -i '/^MAILER_DEFINITIONS/e cat /srv/here/filter' /etc/mail/sendmail.mc
touch /etc/mail/m4/dialup.m4 /etc/mail/m4/provider.m4
/usr/share/sendmail/update_conf
/usr/share/sendmail/update_mk
